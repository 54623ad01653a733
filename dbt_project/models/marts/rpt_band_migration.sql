with

weeks as (

    select
        as_of_date,
        lag(as_of_date) over (order by as_of_date) as previous_as_of_date
    from (select distinct as_of_date from {{ ref('fct_client_scores') }})

),

final as (

    select
        coalesce(before.band, 'NEW') as band_before,
        now.band as band_after,
        count(*) as clients_count,
        weeks.as_of_date
    from {{ ref('fct_client_scores') }} as now
    inner join weeks on now.as_of_date = weeks.as_of_date
    left join {{ ref('fct_client_scores') }} as before
        on now.client_id = before.client_id and weeks.previous_as_of_date = before.as_of_date
    where weeks.previous_as_of_date is not null
    group by all

)

select * from final
