with

spine as (

    select
        client_id,
        as_of_date
    from {{ ref('int_client_weeks') }}

),

reports as (

    select distinct
        client_id,
        str_date
    from {{ ref('stg_str_labels') }}
    where is_str

),

reported as (

    select
        spine.client_id,
        spine.as_of_date,
        bool_or(reports.str_date < spine.as_of_date) as has_prior_str,
        min(case when reports.str_date >= spine.as_of_date then reports.str_date end) as next_str_date
    from spine
    inner join reports on spine.client_id = reports.client_id
    group by spine.client_id, spine.as_of_date

),

final as (

    select
        spine.client_id,
        coalesce(reported.next_str_date < spine.as_of_date + cast(plan.horizon_days as integer), false) as is_str_within_horizon,
        coalesce(reported.has_prior_str, false) as has_prior_str,
        coalesce(weeks.is_label_complete, false) as is_label_complete,
        spine.as_of_date,
        reported.next_str_date
    from spine
    cross join {{ source('intermediate', 'calendar_plan') }} as plan
    left join {{ source('intermediate', 'as_of_weeks') }} as weeks on spine.as_of_date = weeks.as_of_date
    left join reported on spine.client_id = reported.client_id and spine.as_of_date = reported.as_of_date

)

select * from final
